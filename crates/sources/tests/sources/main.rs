//! Sources against real repositories, a real HTTP server and real folders. Only these tests start processes.

mod endless;
mod folder;
mod hostile;
mod local;
mod remote;
mod servers;
mod signed;
mod ssh;
mod support;
mod web;
mod work_tree;
