DROP TABLE IF EXISTS health_probe;
