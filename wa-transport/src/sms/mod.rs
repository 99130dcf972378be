//! Text messages to phones.
