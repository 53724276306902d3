//! Signatures made by the real programs, and what becomes of them when somebody touches them.

mod kit;
mod mutated;
mod openpgp;
mod ssh;
