//! What helps the shell and the reader: completions, the manual, the schema of saga files.

use std::path::Path;

use clap_complete::Shell;
use replay::{Error, ErrorKind, Result};

use crate::{app::App, exit::Exit, output::write_all, saga_file::schema};

pub(super) fn schema() -> Result<Exit> {
    write_all(schema::TEXT)?;
    Ok(Exit::Ok)
}

pub(super) fn completions(app: &App, shell: Shell) -> Result<Exit> {
    let mut command = app.command.clone();
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut command, app.name, &mut script);
    write_all(&String::from_utf8_lossy(&script))?;
    Ok(Exit::Ok)
}

pub(super) fn man(app: &App, folder: Option<&Path>) -> Result<Exit> {
    let wrong = |error: std::io::Error| Error::new(ErrorKind::Internal, "write manual").caused_by(error);
    let Some(folder) = folder else {
        let mut page = Vec::new();
        clap_mangen::Man::new(app.command.clone()).render(&mut page).map_err(wrong)?;
        write_all(&String::from_utf8_lossy(&page))?;
        return Ok(Exit::Ok);
    };
    std::fs::create_dir_all(folder).map_err(wrong)?;
    clap_mangen::generate_to(app.command.clone(), folder).map_err(wrong)?;
    app.output.note(format!("wrote the manual into {}", folder.display()));
    Ok(Exit::Ok)
}
