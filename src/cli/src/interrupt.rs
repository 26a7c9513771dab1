//! Ctrl-C, SIGTERM and SIGHUP: the first asks the work to stop, a second one
//! also asks the collecting after it.

use std::sync::{Mutex, OnceLock};

use podcov_process::Cancel;

static ASKED: OnceLock<Mutex<Vec<Cancel>>> = OnceLock::new();

/// From now on, the next interrupt sets `cancel`. Tokens are set one an
/// interrupt, in the order in which they came here.
pub fn on_interrupt(cancel: &Cancel) {
    let tokens = ASKED.get_or_init(|| {
        let handler = || {
            let Some(tokens) = ASKED.get() else { return };
            let Ok(tokens) = tokens.lock() else { return };
            if let Some(token) = tokens.iter().find(|token| !token.is_set()) {
                token.set();
            }
        };
        // Without a handler an interrupt still ends podcov; the next `up`
        // cleans after it.
        let _ = ctrlc::set_handler(handler);
        Mutex::default()
    });
    if let Ok(mut tokens) = tokens.lock() {
        tokens.push(cancel.clone());
    }
}

/// Whether an interrupt came.
pub fn came() -> bool {
    let tokens = ASKED.get().and_then(|tokens| tokens.lock().ok());
    tokens.is_some_and(|tokens| tokens.iter().any(Cancel::is_set))
}
