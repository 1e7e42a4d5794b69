//! Routing keys of the updates of one user: what is bound, and whose update came.

use super::readers::UserId;

/// What stands for the id of the user.
const USER: &str = "{userId}";

/// What stands for the kind of user that the id begins with.
const KIND: &str = "{type}";

/// The forms of routing keys that the chat uses, such as `user.{userId}.*`. The
/// configuration has checked them.
#[derive(Clone, Debug)]
pub(super) struct Bindings(Vec<Vec<String>>);

impl Bindings {
    pub(super) fn new(forms: &[String]) -> Self {
        let words = |form: &String| form.split('.').map(str::to_owned).collect();
        Self(forms.iter().map(words).collect())
    }

    /// What has to be bound so that a queue gets the updates of `user`, and of nobody
    /// else.
    pub(super) fn keys(&self, user: &UserId) -> Vec<String> {
        // An id without a kind is of any kind: its own word says whose update it is.
        let kind = user.as_str().split_once('_').map_or("*", |(kind, _)| kind);
        let kind = if kind.is_empty() { "*" } else { kind };
        let key = |form: &Vec<String>| {
            let words: Vec<&str> = form
                .iter()
                .map(|word| match word.as_str() {
                    USER => user.as_str(),
                    KIND => kind,
                    word => word,
                })
                .collect();
            words.join(".")
        };
        self.0.iter().map(key).collect()
    }

    /// The users whose update has this routing key: mostly one, and more only if two
    /// forms read it differently.
    pub(super) fn users(&self, routing_key: &str) -> Vec<UserId> {
        let words: Vec<&str> = routing_key.split('.').collect();
        let mut users = Vec::new();
        for form in self.0.iter().filter(|form| form.len() == words.len()) {
            let mut user = None;
            let fits = form.iter().zip(&words).all(|(expected, word)| {
                if expected == USER {
                    user = UserId::parse(word);
                    user.is_some()
                } else {
                    matches!(expected.as_str(), "*" | KIND) || expected == word
                }
            });
            if let Some(user) = user.filter(|user| fits && !users.contains(user)) {
                users.push(user);
            }
        }
        users
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bindings(forms: &[&str]) -> Bindings {
        let forms: Vec<String> = forms.iter().map(|form| (*form).to_owned()).collect();
        Bindings::new(&forms)
    }

    fn user(id: &str) -> UserId {
        UserId::parse(id).unwrap()
    }

    /// C-39, and the two forms that came later.
    #[test]
    fn each_form_of_the_chat_binds_one_user() {
        for (form, key, update) in [
            (
                "user.{userId}.*",
                "user.usr_a3f9k2p1.*",
                "user.usr_a3f9k2p1.messageupdate",
            ),
            (
                "user.{type}.{userId}.*",
                "user.usr.usr_a3f9k2p1.*",
                "user.usr.usr_a3f9k2p1.dialogupdate",
            ),
            (
                "update.*.{type}.{userId}.*",
                "update.*.usr.usr_a3f9k2p1.*",
                "update.dialog.usr.usr_a3f9k2p1.create",
            ),
        ] {
            let bindings = bindings(&[form]);
            let user = user("usr_a3f9k2p1");

            assert_eq!(bindings.keys(&user), [key]);
            assert_eq!(bindings.users(update), [user]);
        }
        assert_eq!(
            bindings(&["user.{type}.{userId}.*"]).keys(&user("42")),
            ["user.*.42.*"]
        );
    }

    #[test]
    fn a_routing_key_of_another_form_is_nobodys() {
        let bindings = bindings(&["user.{userId}.*", "user.{type}.{userId}.*"]);

        assert_eq!(bindings.users("user.a.b"), [user("a")]);
        assert_eq!(bindings.users("user.x.a.b"), [user("a")]);
        for key in [
            "",
            "user",
            "user.a",
            "dialog.a.b",
            "user..b",
            "user.#.b",
            "a.b.c.d.e",
        ] {
            assert_eq!(bindings.users(key), [], "{key}");
        }
    }
}
