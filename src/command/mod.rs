pub mod devices;
pub mod transcribe;
