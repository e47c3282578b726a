//! Prints the lines that an app writes to its log file, each once and in order, whatever the app
//! does to the file and whenever this program is restarted.

use std::io;
use std::pin::{Pin, pin};
use std::process::ExitCode;

use shared_volume_logs::exit_code;
use shared_volume_logs::log::Log;
use shared_volume_logs::offsets::Offsets;
use sidecar_kit::{setting, told_to_end};
use tokio::task::yield_now;

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    exit_code(run().await)
}

// ANCHOR: run
async fn run() -> anyhow::Result<()> {
    // From here on SIGTERM is noticed, whatever else there is to do first.
    let end = pin!(told_to_end());
    // The container that ran here before has left its offsets on a volume.
    let (mut offsets, remembered) =
        Offsets::load(setting("STATE_PATH", "/var/lib/sidecar-container/offsets"));
    let mut log = Log::open(
        setting("LOG_PATH", "/var/log/webserver/access.log"),
        remembered,
    )?;
    let result = ship(&mut log, &mut offsets, end).await;
    // However it ended, what was printed is noted down.
    offsets.save(&log.positions());
    result
}
// ANCHOR_END: run

// ANCHOR: ship
/// Prints the log until it is time to end.
async fn ship(
    log: &mut Log,
    offsets: &mut Offsets,
    mut end: Pin<&mut impl Future<Output = ()>>,
) -> anyhow::Result<()> {
    // Writing to stdout waits for whoever reads it. There is nothing else to do meanwhile, so
    // this program writes as a plain one does, without a thread that does it for it.
    let mut stdout = io::stdout().lock();
    loop {
        // Each turn prints a piece of what is there, and then asks what else there is to do, the
        // most urgent first.
        let more = log.print_some(&mut stdout)?;
        if more {
            offsets.changed();
        }
        tokio::select! {
            biased;
            () = &mut end => break,
            () = offsets.due() => offsets.save(&log.positions()),
            changed = log.changed() => changed?,
            // While there is more to print, wait for nothing. When there is not, it is the kernel
            // that wakes us: no timer runs, and an idle log costs no time at all.
            () = yield_now(), if more => {}
        }
    }
    // What the app has written until now is printed. The beginning of a line that it has not
    // finished is not: that stays in the file for the next start.
    log.print_rest(&mut stdout)
}
// ANCHOR_END: ship
