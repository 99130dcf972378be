DROP TABLE IF EXISTS hidden_messages;
