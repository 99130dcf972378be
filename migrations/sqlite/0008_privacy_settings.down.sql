DROP TABLE IF EXISTS privacy_settings;
