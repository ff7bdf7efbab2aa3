//! A small array of 64-bit cells over memory that outlives a killed process.
//!
//! Each cell is one atomic: it is never torn, neither between threads nor by a process that dies while it stores.
//! Several cells that belong together need a scheme on top (see the journal's mark).

use std::fs::File;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use memmap2::{MmapMut, MmapOptions, MmapRaw};

/// Cells of one array: a page.
pub const CELLS: usize = 512;
/// Bytes of one array.
pub const CELLS_BYTES: usize = CELLS * 8;

/// The cells. Cheap to clone; clones see the same memory.
#[derive(Clone)]
pub struct Cells {
    raw: Arc<MmapRaw>,
}

impl Cells {
    /// Cells of this process alone, with these values.
    ///
    /// # Errors
    /// When the kernel has no memory.
    pub fn anonymous(values: &[u64; CELLS]) -> io::Result<Cells> {
        let cells = Cells { raw: Arc::new(MmapMut::map_anon(CELLS_BYTES)?.into()) };
        for (at, &value) in values.iter().enumerate() {
            cells.store(at, value);
        }
        Ok(cells)
    }

    /// The cells at the start of `file`, shared with the page cache.
    ///
    /// # Errors
    /// What the kernel refused; `UnexpectedEof` when the file is shorter than [`CELLS_BYTES`].
    pub fn map(file: &File) -> io::Result<Cells> {
        if file.metadata()?.len() < CELLS_BYTES as u64 {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the file is shorter than a page"));
        }
        Ok(Cells { raw: Arc::new(MmapOptions::new().len(CELLS_BYTES).map_raw(file)?) })
    }

    /// The value of cell `at`.
    ///
    /// # Panics
    /// When there is no such cell.
    #[inline]
    pub fn load(&self, at: usize) -> u64 {
        u64::from_le(self.cell(at).load(Ordering::Acquire))
    }

    /// Sets cell `at`.
    ///
    /// # Panics
    /// When there is no such cell.
    #[inline]
    pub fn store(&self, at: usize, value: u64) {
        self.cell(at).store(value.to_le(), Ordering::Release);
    }

    /// All values, each read once.
    pub fn values(&self) -> [u64; CELLS] {
        std::array::from_fn(|at| self.load(at))
    }

    #[inline]
    fn cell(&self, at: usize) -> &AtomicU64 {
        assert!(at < CELLS, "the array has {CELLS} cells");
        // SAFETY: the mapping is `CELLS_BYTES` long, page-aligned and lives as long as `self`; it is only ever
        // accessed through these atomics.
        unsafe { &*self.raw.as_ptr().cast::<AtomicU64>().add(at) }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn clones_share_the_cells() {
        let mut values = [0; CELLS];
        values[7] = 42;
        let cells = Cells::anonymous(&values).unwrap();
        let other = cells.clone();
        other.store(CELLS - 1, u64::MAX);
        assert_eq!((cells.load(7), cells.load(CELLS - 1)), (42, u64::MAX));
        values[CELLS - 1] = u64::MAX;
        assert_eq!(cells.values(), values);
    }

    #[test]
    fn a_file_keeps_them_little_endian() {
        let mut file = tempfile::tempfile().unwrap();
        assert!(Cells::map(&file).is_err(), "an empty file has no cells");
        file.write_all(&[0; CELLS_BYTES]).unwrap();
        let cells = Cells::map(&file).unwrap();
        cells.store(1, 0x0102_0304_0506_0708);
        drop(cells);
        let mut bytes = [0; 16];
        std::os::unix::fs::FileExt::read_exact_at(&file, &mut bytes, 0).unwrap();
        assert_eq!(bytes[8..], [8, 7, 6, 5, 4, 3, 2, 1]);
    }

    #[test]
    #[should_panic(expected = "512 cells")]
    fn there_are_no_more_cells() {
        Cells::anonymous(&[0; CELLS]).unwrap().load(CELLS);
    }
}
