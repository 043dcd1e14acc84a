//! Who takes part in the supply chain.

use crate::failure::Failure;
use crate::sandbox::{Part, Plan};

/// What a role does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Retailer,
    Supplier,
    Carrier,
    Auditor,
}

impl Kind {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Retailer => "retailer",
            Self::Supplier => "supplier",
            Self::Carrier => "carrier",
            Self::Auditor => "auditor",
        }
    }
}

/// One of those who take part: an actor with one account.
#[derive(Debug)]
pub(crate) struct Role {
    /// The actor's name in the constitution.
    pub(crate) name: &'static str,
    /// For people.
    pub(crate) title: &'static str,
    pub(crate) kind: Kind,
    /// Place of its account among the development accounts.
    account: &'static [usize],
}

/// All of them; the account of each is that of its place.
pub(crate) const ROLES: &[Role] = &[
    role("tailspin", "Tailspin Markets", Kind::Retailer, &[0]),
    role("wingtip", "Wingtip Stores", Kind::Retailer, &[1]),
    role("litware", "Litware Farms", Kind::Supplier, &[2]),
    role("proseware", "Proseware Mills", Kind::Supplier, &[3]),
    role("fourthcoffee", "Fourth Coffee", Kind::Supplier, &[4]),
    role("adatum", "Adatum Freight", Kind::Carrier, &[5]),
    role("woodgrove", "Woodgrove Audit", Kind::Auditor, &[6]),
];

const fn role(
    name: &'static str,
    title: &'static str,
    kind: Kind,
    account: &'static [usize],
) -> Role {
    Role {
        name,
        title,
        kind,
        account,
    }
}

/// The same for the sandbox.
pub(crate) fn parts() -> Vec<Part> {
    let part = |role: &Role| Part {
        name: role.name,
        auditor: role.kind == Kind::Auditor,
        accounts: role.account,
    };
    ROLES.iter().map(part).collect()
}

/// A kept directory may hold another sandbox.
pub(crate) fn check(plan: &Plan) -> Result<(), Failure> {
    let theirs = plan.participants.iter().map(|p| p.name.as_str());
    if theirs.eq(ROLES.iter().map(|role| role.name)) {
        return Ok(());
    }
    Err(Failure::input(
        "the directory holds a sandbox with other participants: name another with --dir",
    ))
}

/// What is traded.
pub(crate) const ITEMS: &[(u32, &str)] = &[
    (1, "Coffee, green, 60 kg"),
    (2, "Tea, black, 25 kg"),
    (3, "Cocoa beans, 50 kg"),
];
