//! What the harness's own tests run in a container: it does what its arguments say, one verb after
//! the other, with `then` between them, and prints what came of it.

#[cfg(target_os = "linux")]
mod escape;
#[cfg(target_os = "linux")]
mod files;
#[cfg(target_os = "linux")]
mod network;
#[cfg(target_os = "linux")]
mod processes;

fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    #[cfg(target_os = "linux")]
    {
        processes::prepare(&words);
        for verb in words.split(|word| *word == "then") {
            act(verb);
        }
    }
    #[cfg(not(target_os = "linux"))]
    println!("{} verbs need Linux", words.len());
}

#[cfg(target_os = "linux")]
fn act(verb: &[&str]) {
    match *verb {
        ["say", ref lines @ ..] => lines.iter().for_each(|line| println!("{line}")),
        ["exit", code] => std::process::exit(number(code)),
        ["env", ref names @ ..] => names.iter().for_each(|name| tell_variable(name)),

        // Processes.
        ["status", ref fields @ ..] => processes::status(fields),
        ["count-processes"] => processes::count(),
        ["count-environments"] => processes::count_environments(),
        ["wait"] => processes::wait(),
        ["linger", milliseconds] => processes::linger(number(milliseconds)),
        ["stay"] => processes::stay(),
        ["background", ref words @ ..] => processes::background(words),
        ["leave-session"] => processes::leave_session(),
        ["use-memory", mebibytes] => processes::use_memory(number(mebibytes)),
        ["multiply"] => processes::multiply(),
        ["flood"] => processes::flood(),
        ["bytes", hex] => processes::bytes(hex),

        // Files.
        ["cwd"] => files::tell(
            "cwd",
            std::env::current_dir().map(|path| path.display().to_string()),
        ),
        ["read", path] => files::tell(path, files::read(path)),
        ["write", path, text] => files::tell(path, files::write(path, text)),
        ["append", path, text] => files::tell(path, files::append(path, text)),
        ["fill", path, mebibytes] => files::tell(path, files::fill(path, number(mebibytes))),
        ["stat", path] => files::tell(path, files::stat(path)),
        ["list", path] => files::tell(path, files::list(path)),
        ["make-folder", path] => files::tell(path, files::make_folder(path)),
        ["link", target, path] => files::tell(path, files::link(target, path)),
        ["own", path, user, group] => {
            files::tell(path, files::own(path, number(user), number(group)))
        }
        ["await", path] => files::wait_for(path),
        ["turn", path, ref codes @ ..] => files::turn(path, codes),
        ["watch", path] => files::watch(path),

        // Network.
        ["serve", address] => network::serve(address, "200 OK"),
        ["serve", address, status] => network::serve(address, status),
        ["get", address, path] => files::tell(address, network::get(address, path)),
        ["connect", address] => files::tell(address, network::connect(address)),
        ["resolve", name, addresses] => network::resolve(name, number(addresses)),
        ["interfaces"] => files::tell("interfaces", network::interfaces()),

        // Ways out.
        ["escape", ref only @ ..] => escape::all(only),
        ["attempt", name] => escape::attempt(name),
        ["look-for", ref reversed @ ..] => escape::look_for(reversed),

        _ => {
            println!("{verb:?} is no verb");
            std::process::exit(2);
        }
    }
}

#[cfg(target_os = "linux")]
fn number<N: std::str::FromStr>(word: &str) -> N {
    word.parse().unwrap_or_else(|_| {
        println!("{word:?} is no number");
        std::process::exit(2)
    })
}

#[cfg(target_os = "linux")]
fn tell_variable(name: &str) {
    match std::env::var(name) {
        Ok(value) => println!("{name}={value}"),
        Err(_) => println!("{name} is not set"),
    }
}
