//! Addresses: of repositories, as the operator writes them, and of what an app's files may reach.

use trued_model::Code;
use trued_net::{Reach, Scope, Trust};
use trued_sources::outside::{Leads, address};
use trued_sources::said;

/// What the corpus has for a password.
const PASSWORD: &str = "hunter2";

/// An address of a repository: it smuggles no option, no command and no password, and what refuses it repeats nothing of it.
pub fn url(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    match address(&text) {
        Err(refusal) => {
            assert!(refusal.code == Code::Invalid && !refusal.help.is_empty(), "{refusal:?}");
            assert!(!format!("{refusal:?}").contains(PASSWORD), "{refusal:?}");
        }
        Ok(leads) => {
            assert!(!text.starts_with('-') && !text.contains(char::is_control) && !text.contains(char::is_whitespace), "{text:?}");
            match leads {
                Leads::Folder(path) => assert!(path.is_absolute() && path.as_os_str() == text.as_ref(), "{path:?}"),
                Leads::Web(shown) => web(&shown),
                Leads::Ssh { shown, argv } => ssh(&shown, &argv),
            }
        }
    }
}

fn web(shown: &str) {
    let url = shown.split(' ').next().unwrap_or_default();
    let url = url.parse().ok().and_then(|base| said::place(&base, url)).expect("an address over http, of nobody");
    assert!(url.query().is_none() && url.fragment().is_none(), "{url}");
    assert!(url.scheme() == "https" || matches!(url.host_str(), Some(host) if host == "localhost" || host.contains(['.', ':'])), "{url}");
}

/// All words of the process are ours but four, and each of those is one thing.
fn ssh(shown: &str, argv: &[String]) {
    let Leads::Ssh { argv: ours, .. } = address("ssh://git@host/path").expect("an address") else { unreachable!("it is one over ssh") };
    let theirs: Vec<usize> = (0..argv.len().max(ours.len())).filter(|at| argv.get(*at) != ours.get(*at)).collect();
    let last = ours.len() - 1;
    let free = [last - 5, last - 3, last - 1, last];
    assert!(argv.len() == ours.len() && theirs.iter().all(|at| free.contains(at)), "{argv:?}");
    let [port, user, host, command] = free.map(|at| argv[at].as_str());
    assert!(port.parse::<u16>().is_ok_and(|port| port > 0), "{port:?}");
    for word in [user, host] {
        assert!(!word.is_empty() && !word.starts_with('-') && !word.contains(['@', '/', '%', '$']), "{word:?}");
    }
    let path = command.strip_prefix("git-upload-pack ").and_then(unquoted).expect("one word of a shell");
    assert!(!path.is_empty() && !path.starts_with('-') && !path.contains(char::is_control), "{path:?}");
    assert!(!shown.split('/').nth(2).unwrap_or_default().trim_start_matches(user).starts_with(':'), "{shown:?}");
}

/// What a POSIX shell makes of one word; `None` where it would see more than a word.
fn unquoted(word: &str) -> Option<String> {
    let (mut plain, mut letters, mut inside) = (String::new(), word.chars(), false);
    while let Some(letter) = letters.next() {
        match (letter, inside) {
            ('\'', _) => inside = !inside,
            ('\\', false) => plain.push(letters.next()?),
            (letter, true) => plain.push(letter),
            (_, false) => return None,
        }
    }
    (!inside).then_some(plain)
}

/// A pattern that is granted, and in the next line an address: one that is reached leads where the pattern says, whoever reads it.
pub fn reach(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let (pattern, address) = text.split_once('\n').unwrap_or((&text, ""));
    let Ok(reach) = Reach::read(pattern) else { return };
    assert_eq!(reach.written(), pattern);
    let scope = Trust::Granted(vec![reach.clone()]).scope(address);
    assert_eq!(scope.is_some(), reach.reaches(address));
    let base = "https://base.example/".parse().expect("an address");
    let Some(url) = scope.and_then(|_| said::place(&base, address)) else { return };
    let host_of = |text: &str| text.split("://").nth(1).and_then(|rest| rest.split(['/', '?', '#']).next()).unwrap_or_default().to_owned();
    let written = host_of(pattern);
    assert_eq!(url.scheme(), pattern.split("://").next().unwrap_or_default().to_ascii_lowercase());
    if !written.contains(['*', '?', '{', '\\']) && !written.get(1..).unwrap_or_default().contains('[') {
        let meant = said::place(&base, &format!("{}://{written}/", url.scheme()));
        assert_eq!(meant.as_ref().and_then(|meant| meant.host_str()), url.host_str(), "{pattern} and {address}");
    }
    let host = url.host_str().unwrap_or_default();
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    assert!(scope != Some(Scope::Anywhere) || bare.parse::<std::net::IpAddr>().is_ok(), "{host} is reached as if it were an address");
    // Where a reader takes steps out of a path, it is not the one that was granted.
    let path = address.splitn(4, '/').nth(3).map_or("/".to_owned(), |path| format!("/{path}"));
    let path = path.split(['?', '#']).next().unwrap_or_default();
    assert_eq!(path.split('/').count(), url.path().split('/').count(), "{address} is {url}");
}
