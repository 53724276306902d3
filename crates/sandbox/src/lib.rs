//! trued-sandbox
