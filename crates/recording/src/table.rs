//! Arrow columns into the bytes of a Parquet file with one row group, and back. What is in the columns is not its matter.

use anyhow::{Context, Result};
use arrow_array::builder::FixedSizeBinaryBuilder;
use arrow_array::{ArrayRef, FixedSizeBinaryArray, RecordBatch};
use arrow_schema::{Field, Schema};
use bytes::Bytes;
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::arrow::arrow_writer::ArrowWriterOptions;
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::properties::{EnabledStatistics, WriterProperties, WriterPropertiesBuilder};
use std::sync::Arc;

/// Types that an attribute's column can have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fixed {
    Text = 0,
    Int = 1,
    Float = 2,
    Bool = 3,
}

/// Large enough that a text column of one row group never falls back from its dictionary.
const DICTIONARY_BYTES: usize = 64 << 20;

/// Zstandard 1, dictionaries, statistics per column.
pub(crate) fn settings() -> WriterPropertiesBuilder {
    WriterProperties::builder()
        .set_created_by("trimtab".to_owned())
        .set_compression(Compression::ZSTD(ZstdLevel::default()))
        .set_dictionary_page_size_limit(DICTIONARY_BYTES)
        .set_statistics_enabled(EnabledStatistics::Chunk)
        .set_max_row_group_row_count(None)
}

/// The bytes of a file with these columns; one without a gap is declared so, and costs no list of gaps.
///
/// # Errors
/// Columns of unequal length, or what Parquet cannot hold.
pub(crate) fn encode(columns: Vec<(String, ArrayRef)>, settings: WriterProperties) -> Result<Vec<u8>> {
    let field =
        |(name, array): &(String, ArrayRef)| Field::new(name, array.data_type().clone(), array.is_nullable());
    let fields: Vec<Field> = columns.iter().map(field).collect();
    let arrays = columns.into_iter().map(|(_, array)| array).collect();
    let batch = RecordBatch::try_new(Arc::new(Schema::new(fields)), arrays).context("columns of a table")?;
    // Without Arrow's own schema beside Parquet's, a text column reads as text and not as a dictionary.
    let options = ArrowWriterOptions::new().with_properties(settings).with_skip_arrow_metadata(true);
    let mut bytes = Vec::new();
    let mut writer = ArrowWriter::try_new_with_options(&mut bytes, batch.schema(), options)?;
    writer.write(&batch)?;
    writer.close()?;
    Ok(bytes)
}

/// Ids as big-endian bytes.
pub(crate) trait Id: Copy {
    type Bytes: AsRef<[u8]>;
    const WIDTH: i32;
    fn bytes(self) -> Self::Bytes;
}

impl Id for u128 {
    type Bytes = [u8; 16];
    const WIDTH: i32 = 16;
    fn bytes(self) -> [u8; 16] {
        self.to_be_bytes()
    }
}

impl Id for u64 {
    type Bytes = [u8; 8];
    const WIDTH: i32 = 8;
    fn bytes(self) -> [u8; 8] {
        self.to_be_bytes()
    }
}

/// A column of ids.
pub(crate) fn fixed<T: Id>(ids: impl Iterator<Item = Option<T>>) -> Result<FixedSizeBinaryArray> {
    let mut column = FixedSizeBinaryBuilder::with_capacity(ids.size_hint().0, T::WIDTH);
    for id in ids {
        match id {
            Some(id) => column.append_value(id.bytes())?,
            None => column.append_null(),
        }
    }
    Ok(column.finish())
}

/// The column of a name.
///
/// # Errors
/// There is none; the message names it.
pub(crate) fn column<'a>(batch: &'a RecordBatch, name: &str) -> Result<&'a ArrayRef> {
    batch.column_by_name(name).with_context(|| format!("the column `{name}` is missing"))
}

/// A trace id from its bytes; of another width, 0.
pub(crate) fn trace_id(bytes: &[u8]) -> u128 {
    bytes.try_into().map_or(0, u128::from_be_bytes)
}

/// A span id from its bytes; of another width, 0.
pub(crate) fn span_id(bytes: &[u8]) -> u64 {
    bytes.try_into().map_or(0, u64::from_be_bytes)
}

/// Every batch of a file of ours.
///
/// # Errors
/// Truncated or not Parquet.
pub(crate) fn decode(bytes: Bytes) -> Result<Vec<RecordBatch>> {
    let reader = ParquetRecordBatchReaderBuilder::try_new(bytes)?.build()?;
    Ok(reader.collect::<Result<_, _>>()?)
}

/// Runs a reader of Parquet. The library panics on some damaged files (60.1: definition levels beyond the page, found
/// by our test of flipped bytes); a file is foreign input, so that is an error like any other.
///
/// # Errors
/// The reader's, or that it panicked. What it was changing may then be half changed: the caller takes it back.
pub(crate) fn guarded<T>(read: impl FnOnce() -> Result<T>) -> Result<T> {
    let read = std::panic::AssertUnwindSafe(read);
    std::panic::catch_unwind(read).unwrap_or_else(|_| Err(anyhow::anyhow!("the file is damaged")))
}
