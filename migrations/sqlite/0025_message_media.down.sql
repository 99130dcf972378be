DROP INDEX IF EXISTS messages_by_media;
ALTER TABLE messages DROP COLUMN media_id;
