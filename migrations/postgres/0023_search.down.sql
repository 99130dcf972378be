DROP TABLE IF EXISTS search_index;
DROP TABLE IF EXISTS search_expiring;
DROP TABLE IF EXISTS search_chats;
