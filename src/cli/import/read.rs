//! From the rows of an import to chunks.

use std::io;

use prost::Message;
use tokio::sync::mpsc;

use super::super::files::{self, Input};
use crate::{
    formats::{ItemReader, ItemRow, Problem},
    proto::v1::ImportItem,
};

/// Items after which a chunk is sent. The server takes 10,000; one more row
/// still fits, as it makes at most one item for each of a store's 4,096 scopes.
const CHUNK_ITEMS: usize = 5_000;
/// Bytes of one chunk; one more row still fits below the server's 4 MiB a message.
const CHUNK_BYTES: usize = 2 << 20;
/// Rows of one chunk: a file of nothing but rejects is reported bit by bit.
const CHUNK_ROWS: usize = 50_000;
/// Tag and length of an item within its message, at most.
const ITEM_OVERHEAD: usize = 6;
/// Chunks read ahead of the stream.
const READ_AHEAD: usize = 2;

/// A row that was not imported, or not wholly.
#[derive(Debug)]
pub struct Reject {
    /// Its position in the chunk.
    pub row: usize,
    /// What is wrong.
    pub problem: Problem,
}

/// What a chunk's acknowledgement is matched with.
#[derive(Debug, Default)]
pub struct Chunk {
    /// The rows read: the line that each begins on, and its text.
    pub rows: Vec<(u64, String)>,
    /// The position of each item's row.
    pub items: Vec<usize>,
    /// Rows that make no items.
    pub rejects: Vec<Reject>,
}

/// Reads the file on a thread of its own, which ends with the receiver. Rows
/// before `from_line` are passed over.
pub fn read_in_background(
    mut reader: ItemReader<Input>,
    from_line: u64,
) -> mpsc::Receiver<io::Result<(Chunk, Vec<ImportItem>)>> {
    files::read_in_background(READ_AHEAD, move |sender| {
        let mut ended = false;
        while !ended {
            let mut chunk = Chunk::default();
            let mut items = Vec::new();
            let filled = fill(&mut reader, from_line, &mut chunk, &mut items);
            ended = !matches!(filled, Ok(true));
            let sent = if !chunk.rows.is_empty() {
                sender.blocking_send(Ok((chunk, items)))
            } else {
                Ok(())
            };
            ended |= sent.is_err();
            if let Err(error) = filled {
                // Whether anybody still listens does not matter at the end.
                let _ = sender.blocking_send(Err(error));
            }
        }
    })
}

/// Fills a chunk; returns whether more rows may follow.
fn fill(
    reader: &mut ItemReader<Input>,
    from_line: u64,
    chunk: &mut Chunk,
    items: &mut Vec<ImportItem>,
) -> io::Result<bool> {
    let mut bytes = 0;
    while items.len() < CHUNK_ITEMS && bytes < CHUNK_BYTES && chunk.rows.len() < CHUNK_ROWS {
        let Some(ItemRow { line, text, changes }) = reader.next_row()? else { return Ok(false) };
        if line < from_line {
            continue;
        }
        let row = chunk.rows.len();
        // The rows stay here until they are acknowledged, so they count too.
        bytes += text.len();
        chunk.rows.push((line, text));
        match changes {
            Ok(changes) => {
                for item in changes {
                    bytes += item.encoded_len() + ITEM_OVERHEAD;
                    chunk.items.push(row);
                    items.push(item);
                }
            }
            Err(problem) => chunk.rejects.push(Reject { row, problem }),
        }
    }
    Ok(true)
}
