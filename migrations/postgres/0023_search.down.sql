DROP TABLE search_index;
DROP TABLE search_expiring;
DROP TABLE search_chats;
