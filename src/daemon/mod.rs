pub mod hearing;
