//! Secrets, from outside: the built program, real files, and everything it leaves behind.

mod canary;
mod encrypted;
mod keys;
mod kit;
