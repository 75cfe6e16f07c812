//! namesrv
mod kv_config;
pub mod route_table;
mod settings;
