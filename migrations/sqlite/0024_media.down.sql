DROP INDEX IF EXISTS groups_by_avatar;
DROP INDEX IF EXISTS users_by_avatar;
DROP TABLE IF EXISTS media;
