//! A page with places that a run fills: what stands between `<!-- bench:NAME -->` and `<!-- /bench -->`.

use std::path::{Path, PathBuf};

const END: &str = "<!-- /bench -->";

/// A page that is being filled.
pub(crate) struct Page {
    path: PathBuf,
    text: String,
}

impl Page {
    /// # Errors
    /// The page cannot be read, or has no places.
    pub(crate) fn read(path: &Path) -> Result<Self, String> {
        let text = std::fs::read_to_string(path).map_err(|e| format!("{}: {e}", path.display()))?;
        if !text.contains("<!-- bench:") {
            return Err(format!("{}: no place for tables (<!-- bench:NAME --> ... {END})", path.display()));
        }
        Ok(Page { path: path.to_path_buf(), text })
    }

    /// Puts `what` in the place called `name`.
    ///
    /// # Errors
    /// There is none, or its end is missing.
    pub(crate) fn put(&mut self, name: &str, what: &str) -> Result<(), String> {
        let begin = format!("<!-- bench:{name} -->");
        let missing = |what: &str| format!("{}: {what} is missing", self.path.display());
        let from = self.text.find(&begin).ok_or_else(|| missing(&begin))? + begin.len();
        let rest = &self.text[from..];
        let upto = rest.find(END).filter(|end| !rest[..*end].contains("<!-- bench:"));
        let upto = from + upto.ok_or_else(|| missing(&format!("{END} of {begin}")))?;
        self.text.replace_range(from..upto, &format!("\n\n{what}\n\n"));
        Ok(())
    }

    /// # Errors
    /// The page cannot be written.
    pub(crate) fn write(&self) -> Result<(), String> {
        std::fs::write(&self.path, &self.text).map_err(|e| format!("{}: {e}", self.path.display()))
    }
}
