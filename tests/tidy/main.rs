//! Protects the shape of the tree: which room may use which, where `unsafe` may stand, that no files import each other in a
//! circle, how long files and functions are; where crates come from; and that the pages of the documentation name what there is.

mod crates;
mod imports;
mod pages;
mod rooms;
mod shape;
mod sources;
