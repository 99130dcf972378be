//! The use cases over a real store, SQLite in memory: what a user of the api sees when calls follow each other, and when
//! they meet.

mod chats;
mod conversation;
mod events;
mod groups;
mod login;
mod media;
mod people;
mod pushes;
mod sync;
mod world;
