//! The flags of `--record`, and the recorder that they start.

use std::path::PathBuf;
use std::time::Duration;

use actix_ws_client::record::Recorder;

use crate::screen::eprint_line;
use crate::usage::Usage;
use crate::value::{PositiveTime, Size};

/// The flags of a recording.
#[derive(clap::Args)]
pub(crate) struct RecordFlags {
    /// Record what is received and sent into MCAP files in this directory
    #[arg(long, value_name = "DIR")]
    record: Option<PathBuf>,

    /// Begin another file at this size [default: 256m]
    #[arg(long, value_name = "SIZE", requires = "record")]
    record_size: Option<Size>,

    /// Begin another file at this age [default: 1h]
    #[arg(long, value_name = "TIME", requires = "record")]
    record_age: Option<PositiveTime>,

    /// Delete the oldest files beyond this many MiB in all
    #[arg(
        long,
        value_name = "MIB",
        default_value = "10240",
        value_parser = clap::value_parser!(u32).range(1..),
        requires = "record"
    )]
    record_keep: u32,
}

/// How long the end of the run waits for the disk.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);

impl RecordFlags {
    /// Starts the recorder, if there is a directory.
    pub(crate) fn start(&self) -> Result<Option<Recorder>, Usage> {
        let Some(directory) = &self.record else { return Ok(None) };
        let mut builder =
            Recorder::builder(directory).keep_bytes(u64::from(self.record_keep) << 20);
        if let Some(Size(bytes)) = self.record_size {
            builder = builder.file_bytes(bytes as u64);
        }
        if let Some(PositiveTime(age)) = self.record_age {
            builder = builder.file_age(age);
        }
        builder.start().map(Some).map_err(|err| Usage(format!("--record: {err}")))
    }
}

/// Completes the file. Says so if it cannot, or if the recording is not whole.
pub(crate) fn close(recorder: &Recorder) {
    let is_complete = recorder.close(CLOSE_TIMEOUT);
    let figures = recorder.figures();
    if !is_complete {
        let text = "--record: the disk is too slow: the last file is not complete";
        eprint_line(&format!("wsup: {text}"));
    }
    if figures.dropped > 0 {
        let (dropped, written) = (figures.dropped, figures.written);
        let cause =
            figures.error.map_or_else(|| "the disk is too slow".to_owned(), |err| err.to_string());
        eprint_line(&format!(
            "wsup: --record: {dropped} messages and events were not recorded, {written} were: {cause}"
        ));
    }
}
