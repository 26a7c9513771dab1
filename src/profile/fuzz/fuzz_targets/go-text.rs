#![no_main]

podcov_profile_fuzz::target!("go-text");
