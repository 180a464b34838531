//! `cryprq completions` and `cryprq man`: both are made from the same definition as the commands.

use std::path::PathBuf;

use clap::CommandFactory;

use super::Context;
use crate::args::Args;
use crate::error::{Result, local};
use crate::exit::Exit;

/// Print completions for a shell.
#[derive(clap::Args)]
pub(crate) struct Completions {
    /// The shell.
    shell: clap_complete::Shell,
}

impl Completions {
    pub(crate) fn run(self, context: &Context<'_>) -> Result<Exit> {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut Args::command(), "cryprq", &mut script);
        context.out.document(&String::from_utf8_lossy(&script))?;
        Ok(Exit::Ok)
    }
}

/// Print the man pages of this program and of each command.
#[derive(clap::Args)]
#[command(after_help = "'cryprq man | man -l -' shows them.")]
pub(crate) struct Man {
    /// Write one file a page into this folder instead.
    #[arg(long, value_name = "FOLDER")]
    out: Option<PathBuf>,
}

impl Man {
    pub(crate) fn run(self, context: &Context<'_>) -> Result<Exit> {
        if let Some(folder) = self.out {
            clap_mangen::generate_to(Args::command(), &folder)
                .map_err(|error| local(format_args!("write man pages into {}", folder.display()), &error))?;
            return Ok(Exit::Ok);
        }
        let mut root = Args::command().disable_help_subcommand(true);
        root.build();
        let mut text = Vec::new();
        pages(&root, &mut text).map_err(|error| local("draw the man pages", &error))?;
        context.out.document(&String::from_utf8_lossy(&text))?;
        Ok(Exit::Ok)
    }
}

/// The page of a command, then those of its subcommands.
fn pages(command: &clap::Command, text: &mut Vec<u8>) -> std::io::Result<()> {
    clap_mangen::Man::new(command.clone()).render(text)?;
    command.get_subcommands().filter(|sub| !sub.is_hide_set()).try_for_each(|sub| pages(sub, text))
}
