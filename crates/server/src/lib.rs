//! trued-server
