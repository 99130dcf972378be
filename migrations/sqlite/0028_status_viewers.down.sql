DROP TABLE IF EXISTS status_viewers;
