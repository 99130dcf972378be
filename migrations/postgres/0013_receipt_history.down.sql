DROP TABLE IF EXISTS receipt_history;
