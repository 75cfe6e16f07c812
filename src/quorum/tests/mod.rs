//! Controllers with their threads, files and ports, on the loopback.

mod cluster;
mod groups;
mod port;
mod storage;
