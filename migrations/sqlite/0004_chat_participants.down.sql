DROP TABLE IF EXISTS chat_participants;
