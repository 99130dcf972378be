DROP TABLE IF EXISTS receipt_marks;
