use sidecar_testing::http::Upstream;
use sidecar_testing::{Program, abuse, eventually};

use super::{NO_ANSWERS, answer, answer_without_end, ok};
use crate::registrar::registrar;
use crate::{app, ask, registry};

const READY: &str = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";

#[test]
fn a_registry_that_fails_is_told_of_once_and_asked_again() {
    let (registry, app) = (Upstream::new(), app());
    let registrar = registrar(&app.url(), &registry.url(), &[]);
    let granted = ok("", "30ms\n");
    answer(&registry, &granted);
    assert_eq!(registrar.program.line(), "orders-1 is announced");
    let fails = |why: &str, fail: &dyn Fn()| {
        for _ in 0..3 {
            fail();
        }
        let asked = answer(&registry, &granted);
        assert_eq!(asked, "PUT /services/orders/orders-1 HTTP/1.1");
        let line = registrar.program.line();
        assert!(line.starts_with(&format!("trouble: {why}")), "{line}");
    };
    let [hangs_up, half, nonsense, two_lengths, broken] = NO_ANSWERS;
    for bytes in [hangs_up, half, nonsense, two_lengths] {
        fails("the registry does not answer: ", &|| {
            drop(answer(&registry, bytes))
        });
    }
    fails("the registry answers 500", &|| {
        drop(answer(&registry, broken))
    });
    for no_lease in ["never", "0ms", "-1s", ""] {
        let why = format!("`{no_lease}` is no lease: ");
        fails(&why, &|| drop(answer(&registry, ok("", no_lease))));
    }
    let breaks_off = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n30ms";
    fails("", &|| drop(answer(&registry, breaks_off)));
    fails("the answer is longer than 1024 bytes", &|| {
        answer_without_end(&registry, "1h\n");
    });
    fails("the registry does not answer: ", &|| {
        let mut hanging = registry.accept();
        hanging.is_closed_by_the_other_end();
    });
}

#[test]
fn an_app_that_fails_to_say_that_it_is_ready_is_withdrawn_until_it_does() {
    let (registry, app) = (registry("600ms"), Upstream::new());
    let registrar = registrar(&app.url(), &registry.url(), &[]);
    let fails = |fail: &dyn Fn()| {
        answer(&app, READY);
        assert_eq!(registrar.program.line(), "orders-1 is announced");
        // The third look in vain.
        (0..3).for_each(|_| fail());
        let line = registrar.program.line();
        assert_eq!(line, "orders-1 is withdrawn: its app is not ready");
    };
    for bytes in NO_ANSWERS {
        fails(&|| drop(answer(&app, bytes)));
    }
    fails(&|| app.accept().is_closed_by_the_other_end());
    // Its answer trickles.
    fails(&|| {
        let mut trickling = app.accept();
        trickling.send("HTTP/1.1 200 OK\r\nX-Slow: ");
        eventually("nobody waits for the rest", || {
            trickling.try_send("a").err()
        });
    });
}

#[test]
fn the_hook_returns_though_the_registry_hangs() {
    let (registry, app) = (Upstream::new(), app());
    let registrar = registrar(&app.url(), &registry.url(), &[]);
    answer(&registry, ok("", "1h\n"));
    assert_eq!(registrar.program.line(), "orders-1 is announced");
    let hook = Program::start_with(
        env!("CARGO_BIN_EXE_registrar"),
        &["withdraw"],
        &[("LISTEN", &registrar.address.to_string())],
    );
    assert!(hook.ended().0.success());
    let line = registrar.program.line();
    assert_eq!(
        line,
        "trouble: orders-1 cannot be withdrawn, and its lease will run out"
    );
}

#[test]
fn clients_that_are_many_slow_or_no_clients_hold_up_no_probe() {
    let (registry, app) = (registry("1h"), app());
    let registrar = registrar(&app.url(), &registry.url(), &[("HEAD_TIMEOUT", "1s")]);
    let is_ready = || {
        let (status, ..) = ask(&registrar, "GET", "/ready", "", "");
        assert_eq!(status, "200 OK");
    };
    let parts = ["", "POST /withdraw HT", "what is this?\r\n\r\n"];
    abuse::connections_come_and_go(&registrar, &parts, is_ready);
    let beginning = "POST /withdraw HTTP/1.1\r\nHost: a\r\nX-Slow: ";
    abuse::slow_clients(&registrar, beginning, is_ready);
    abuse::too_many_slow_clients(&registrar, beginning, is_ready);
    abuse::what_is_no_request(&registrar, "/withdraw", "");
    is_ready();
    let (entry, _) = crate::list(&registry);
    assert_eq!(entry, "orders-1 10.0.0.1:8080\n", "nobody has withdrawn it");
}
