//! How the names of hosts and users are found: `__nss_configure_lookup`(3) of glibc.
#![allow(unsafe_code)]

/// Lets a static program ask files and DNS only. For each other service in `/etc/nsswitch.conf`
/// glibc would load a library of the system, and crash if that is made for another glibc.
pub(crate) fn without_libraries() {
    #[cfg(all(target_env = "gnu", target_feature = "crt-static"))]
    {
        static ONCE: std::sync::Once = std::sync::Once::new();
        ONCE.call_once(|| {
            for (names, services) in [(c"hosts", c"files dns"), (c"passwd", c"files")] {
                // SAFETY: both are strings that stay, and glibc copies them. The threads that look
                // names up are those of engines, of which none is opened before this.
                unsafe { __nss_configure_lookup(names.as_ptr(), services.as_ptr()) };
            }
        });
    }
}

#[cfg(all(target_env = "gnu", target_feature = "crt-static"))]
unsafe extern "C" {
    /// Fails for unknown names only.
    fn __nss_configure_lookup(
        names: *const libc::c_char,
        services: *const libc::c_char,
    ) -> libc::c_int;
}
