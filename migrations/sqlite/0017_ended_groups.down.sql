DROP TABLE IF EXISTS ended_groups;
