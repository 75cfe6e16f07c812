//! namesrv
pub mod route_table;
