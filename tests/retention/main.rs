//! What is forgotten on request: which rows and messages of the database go, and what is noted meanwhile.

mod messages;
mod old_database;
mod redaction;
