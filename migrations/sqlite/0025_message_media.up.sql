-- The file a message shows, found in its payload: gone when the payload is.
ALTER TABLE messages ADD COLUMN media_id TEXT GENERATED ALWAYS AS
    (CASE WHEN type IN ('image', 'video', 'audio', 'document') THEN json_extract(payload, '$.media_id') END) VIRTUAL;
CREATE INDEX messages_by_media ON messages (media_id, chat_id) WHERE media_id IS NOT NULL;
