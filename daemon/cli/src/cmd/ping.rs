//! `cryprq ping`.

use std::time::Duration;

use cryprq_ipc_proto::error::ErrorCode;
use cryprq_ipc_proto::json::write_reply;
use cryprq_ipc_proto::message::{Reply, Request};
use cryprq_ipc_proto::printable::printable;
use serde_json::Value;

use super::Context;
use crate::client::Answer;
use crate::error::{Result, foreign};
use crate::exit::Exit;
use crate::output::Format;

/// Measure round trips inside the tunnel.
#[derive(clap::Args)]
#[command(after_help = "Ends with 5 when the peer is not connected, and with 6 when no answer comes.")]
pub(crate) struct Ping {
    /// The peer: its name, its PeerId, or the beginning of its PeerId.
    peer: String,
    /// How many round trips.
    #[arg(short, long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..))]
    count: u32,
    /// The pause between two, in seconds.
    #[arg(short, long, value_name = "SECONDS", default_value = "1", value_parser = seconds)]
    interval: Duration,
}

impl Ping {
    pub(crate) fn run(self, context: &Context<'_>) -> Result<Exit> {
        let request = Request::Ping { peer: self.peer.clone() };
        let mut client = context.connect()?;
        let mut trips = Trips { peer: printable(&self.peer), sent: 0, times: Vec::new() };
        let mut end = Ok(());
        for number in 1..=self.count {
            if number > 1 {
                std::thread::sleep(self.interval);
            }
            trips.sent = number;
            match client.ask(&request) {
                Ok(Answer { line, reply: Reply::Ping { rtt_ms, .. } }) => {
                    trips.times.push(rtt_ms);
                    trips.tell(context, &line, format_args!("{rtt_ms:.2} ms"))?;
                }
                Ok(_) => return Err(foreign()),
                Err(error) if error.code == ErrorCode::TimedOut => {
                    let line = write_reply(Some(&Value::Null), &Err(error));
                    trips.tell(context, &line, format_args!("no answer"))?;
                }
                Err(error) => {
                    trips.sent -= 1;
                    end = Err(error);
                    break;
                }
            }
        }
        trips.sum_up(context)?;
        end.map(|()| if trips.times.is_empty() { Exit::TimedOut } else { Exit::Ok })
    }
}

struct Trips {
    peer: String,
    sent: u32,
    times: Vec<f64>,
}

impl Trips {
    fn tell(&self, context: &Context<'_>, line: &str, outcome: std::fmt::Arguments<'_>) -> Result<()> {
        match context.out.format() {
            Format::Json => context.out.json(line),
            Format::Text => context.out.print(|out| writeln!(out, "{}: {outcome}", self.peer)),
        }
    }

    fn sum_up(&self, context: &Context<'_>) -> Result<()> {
        if self.sent == 0 || context.out.format() == Format::Json {
            return Ok(());
        }
        let (count, sent) = (self.times.len(), self.sent);
        context.out.print(|out| {
            write!(out, "{count} of {sent} answered")?;
            if count > 0 {
                let least = self.times.iter().copied().fold(f64::INFINITY, f64::min);
                let most = self.times.iter().copied().fold(0.0, f64::max);
                let mean = self.times.iter().sum::<f64>() / count as f64;
                write!(out, ", least {least:.2} ms, mean {mean:.2} ms, most {most:.2} ms")?;
            }
            writeln!(out)
        })
    }
}

fn seconds(text: &str) -> std::result::Result<Duration, String> {
    let seconds: f64 = text.parse().map_err(|_| "not a number of seconds".to_owned())?;
    Duration::try_from_secs_f64(seconds).map_err(|error| error.to_string())
}
