//! Secrets, from outside: the built program, real files, and everything it leaves behind.

mod keys;
mod kit;
