DROP TABLE IF EXISTS group_invites;
