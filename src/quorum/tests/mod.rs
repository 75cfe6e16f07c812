//! Controllers with their threads, files and ports, on the loopback.

mod access;
mod cluster;
mod groups;
mod port;
mod storage;
