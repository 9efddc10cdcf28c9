//! What is read: documents, their shapes, accounts of datagrams, figures of long tests.

mod datagrams;
mod document;
pub mod figures;
mod shape;

pub use datagrams::{Account, Packets, receivers_have_room};
pub use document::{Document, Totals};
pub use shape::{differences, line_shapes, shape};
