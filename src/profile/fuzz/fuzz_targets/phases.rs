#![no_main]

podcov_profile_fuzz::target!("phases");
