//! The messages of errors, as the sources have them.
//!
//! Sources are parsed, and what becomes an error is followed back to the text that it is made of:
//! through variables, constants, branches, closures, and the parameters of functions.

use std::collections::{BTreeSet, HashMap};
use std::fs;
use std::path::Path;

use proc_macro2::TokenStream;
use syn::parse::{Parse, ParseStream, Parser};
use syn::punctuated::Punctuated;
use syn::visit::{self, Visit};
use syn::{
    Attribute, Block, Expr, ExprLit, FnArg, ImplItemFn, Item, ItemFn, ItemImpl, ItemMod, Lit,
    LitStr, Local, Macro, Member, Pat, Signature, Stmt, Token, Type,
};

/// A message that a source makes an error of.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Message {
    /// From the workbook's folder.
    pub(crate) file: String,
    pub(crate) line: usize,
    /// The first line of what it says, `{}` where it varies.
    pub(crate) text: String,
}

/// The folders of the programs that print errors on a reader's terminal.
const FOLDERS: [&str; 4] = [
    "harness/src",
    "harness/pause/src",
    "xtask/src",
    "book/builder/src",
];

/// Functions that make an error, or a part of one, of an argument: which one, from 0. Whatever
/// hands them a parameter of its own is found, and is one too.
const MAKERS: [(&str, usize); 6] = [
    // anyhow's, the standard library's and serde's.
    ("Err", 0),
    ("Error::msg", 0),
    ("Error::new", 1),
    ("Error::other", 0),
    ("Error::custom", 0),
    // This workbook's.
    ("report::help", 0),
];

/// Methods that do.
const METHODS: [&str; 5] = ["context", "with_context", "map_err", "ok_or", "ok_or_else"];

/// Fields that a reader sees, of a type or a variant.
const FIELDS: [(&str, &str); 5] = [
    ("Failed", "message"),
    ("Failure", "what"),
    ("Forbidden", "cause"),
    ("Problem", "what"),
    ("Waiting", "message"),
];

/// Lists that a reader is shown, by the variables that hold them.
const LISTS: [&str; 4] = ["advice", "lacks", "notes", "problems"];

/// Macros whose calls are no lists of expressions, and hold no message.
const NO_EXPRESSIONS: [&str; 2] = ["json", "matches"];

/// Functions that return what a reader is told.
const TELLERS: [&str; 1] = ["lost"];

/// Every message of the workbook's programs.
pub(crate) fn messages(root: &Path) -> Vec<Message> {
    let files = FOLDERS.iter().flat_map(|folder| files(root, folder));
    let read = |file: String| {
        let text = fs::read_to_string(root.join(&file)).unwrap();
        Source::new(file, &text)
    };
    of(&Vec::from_iter(files.map(read)))
}

/// The Rust files of a folder.
fn files(root: &Path, folder: &str) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir(root.join(folder)).unwrap() {
        let entry = entry.unwrap();
        let path = format!("{folder}/{}", entry.file_name().to_str().unwrap());
        if entry.file_type().unwrap().is_dir() {
            found.extend(files(root, &path));
        } else if path.ends_with(".rs") && !path.ends_with("/tests.rs") {
            found.push(path);
        }
    }
    found.sort();
    found
}

/// A file, and what of it is looked up by name.
pub(crate) struct Source {
    file: String,
    items: Vec<Item>,
    /// The bodies of functions.
    functions: HashMap<String, Block>,
    constants: HashMap<String, Expr>,
    /// Types that are errors.
    errors: BTreeSet<String>,
}

impl Source {
    pub(crate) fn new(file: String, text: &str) -> Self {
        let parsed = syn::parse_file(text).unwrap_or_else(|error| panic!("{file}: {error}"));
        let mut source = Self {
            file,
            items: Vec::new(),
            functions: HashMap::new(),
            constants: HashMap::new(),
            errors: BTreeSet::new(),
        };
        source.index(&parsed.items);
        source.items = parsed.items;
        source
    }

    fn index(&mut self, items: &[Item]) {
        for item in items {
            match item {
                Item::Fn(item) => {
                    let name = item.sig.ident.to_string();
                    self.functions.insert(name, (*item.block).clone());
                }
                Item::Const(item) => {
                    let name = item.ident.to_string();
                    self.constants.insert(name, (*item.expr).clone());
                }
                Item::Impl(item) => {
                    if trait_of(item).as_deref() == Some("Error") {
                        self.errors.extend(name_of(&item.self_ty));
                    }
                    for item in &item.items {
                        if let syn::ImplItem::Fn(item) = item {
                            let name = item.sig.ident.to_string();
                            self.functions.insert(name, item.block.clone());
                        }
                    }
                }
                Item::Mod(item) if !is_test(&item.attrs) => {
                    if let Some((_, items)) = &item.content {
                        self.index(items);
                    }
                }
                _ => {}
            }
        }
    }
}

fn is_test(attributes: &[Attribute]) -> bool {
    attributes.iter().any(|attribute| match &attribute.meta {
        syn::Meta::List(list) => list.tokens.to_string() == "test",
        meta => meta.path().is_ident("test"),
    })
}

fn trait_of(item: &ItemImpl) -> Option<String> {
    let (path, _) = item.trait_.as_ref()?;
    last(path)
}

fn name_of(of: &Type) -> Option<String> {
    match of {
        Type::Path(of) => last(&of.path),
        _ => None,
    }
}

fn last(path: &syn::Path) -> Option<String> {
    Some(path.segments.last()?.ident.to_string())
}

/// What makes an error of an argument. A function of one file is another than that of another;
/// one of a type is the same everywhere.
type Maker = (Option<String>, String);

pub(crate) fn of(sources: &[Source]) -> Vec<Message> {
    let errors = sources.iter().flat_map(|source| source.errors.clone());
    let errors = BTreeSet::from_iter(errors);
    let known = MAKERS.map(|(name, argument)| ((None, name.to_owned()), argument));
    let mut makers = BTreeSet::from(known);
    loop {
        let before = makers.len();
        let mut found = BTreeSet::new();
        for source in sources {
            let mut reader = Reader {
                source,
                errors: &errors,
                makers: &makers,
                new_makers: BTreeSet::new(),
                of_type: None,
                in_display: false,
                frames: Vec::new(),
                found: &mut found,
            };
            source.items.iter().for_each(|item| reader.visit_item(item));
            let new = reader.new_makers;
            makers.extend(new);
        }
        if makers.len() == before {
            return found.into_iter().collect();
        }
    }
}

/// A function or a closure that is being read.
#[derive(Default)]
struct Frame {
    /// As a call names it; a closure has the name of its variable.
    name: Option<String>,
    parameters: Vec<String>,
    /// What variables were bound to, and which part of it if that is a tuple.
    bound: HashMap<String, (Expr, Option<usize>)>,
}

struct Reader<'s, 'f> {
    source: &'s Source,
    errors: &'s BTreeSet<String>,
    makers: &'s BTreeSet<(Maker, usize)>,
    new_makers: BTreeSet<(Maker, usize)>,
    of_type: Option<String>,
    /// In how an error shows itself.
    in_display: bool,
    frames: Vec<Frame>,
    found: &'f mut BTreeSet<Message>,
}

impl<'a> Visit<'a> for Reader<'_, '_> {
    fn visit_item_mod(&mut self, item: &'a ItemMod) {
        if !is_test(&item.attrs) {
            visit::visit_item_mod(self, item);
        }
    }

    fn visit_item_impl(&mut self, item: &'a ItemImpl) {
        self.of_type = name_of(&item.self_ty);
        let is_error = self
            .of_type
            .as_ref()
            .is_some_and(|of| self.errors.contains(of));
        self.in_display = is_error && trait_of(item).as_deref() == Some("Display");
        visit::visit_item_impl(self, item);
        self.of_type = None;
        self.in_display = false;
    }

    fn visit_item_fn(&mut self, item: &'a ItemFn) {
        let outer = self.of_type.take();
        self.enter(&item.sig);
        visit::visit_item_fn(self, item);
        self.frames.pop();
        self.of_type = outer;
    }

    fn visit_impl_item_fn(&mut self, item: &'a ImplItemFn) {
        self.enter(&item.sig);
        if TELLERS.contains(&item.sig.ident.to_string().as_str()) {
            self.follow_block(&item.block, None, 0);
        }
        visit::visit_impl_item_fn(self, item);
        self.frames.pop();
    }

    fn visit_local(&mut self, local: &'a Local) {
        if let Some(init) = &local.init {
            if let Expr::Closure(closure) = &*init.expr {
                self.closure(closure, names(&local.pat).into_iter().next());
            } else {
                self.visit_expr(&init.expr);
            }
            self.bind(&local.pat, &init.expr);
            if let Some((_, diverge)) = &init.diverge {
                self.visit_expr(diverge);
            }
        }
    }

    fn visit_expr_assign(&mut self, assign: &'a syn::ExprAssign) {
        visit::visit_expr_assign(self, assign);
        if let Expr::Path(path) = &*assign.left
            && let Some(name) = path.path.get_ident()
            && let Some(frame) = self.frames.last_mut()
        {
            let to = ((*assign.right).clone(), None);
            frame.bound.insert(name.to_string(), to);
        }
    }

    fn visit_expr_let(&mut self, of: &'a syn::ExprLet) {
        self.bind(&of.pat, &of.expr);
        visit::visit_expr_let(self, of);
    }

    fn visit_expr_closure(&mut self, closure: &'a syn::ExprClosure) {
        self.closure(closure, None);
    }

    fn visit_expr_call(&mut self, call: &'a syn::ExprCall) {
        if let Expr::Path(function) = &*call.func {
            let mut segments = function.path.segments.iter().rev();
            let name = segments.next().map(|segment| segment.ident.to_string());
            let of = segments.next().map(|segment| segment.ident.to_string());
            let of = match of.as_deref() {
                Some("Self") => self.of_type.clone(),
                _ => of,
            };
            self.called(of, &name.unwrap_or_default(), &call.args);
        }
        visit::visit_expr_call(self, call);
    }

    fn visit_expr_method_call(&mut self, call: &'a syn::ExprMethodCall) {
        let name = call.method.to_string();
        let of_list = match &*call.receiver {
            Expr::Path(list) => last(&list.path),
            Expr::Field(field) => match &field.member {
                Member::Named(name) => Some(name.to_string()),
                Member::Unnamed(_) => None,
            },
            _ => None,
        };
        if name == "push" && of_list.is_some_and(|list| LISTS.contains(&list.as_str())) {
            call.args.iter().for_each(|argument| self.take(argument));
        } else if name == "write_str" && self.in_display {
            call.args.iter().for_each(|argument| self.take(argument));
        } else {
            if METHODS.contains(&name.as_str()) {
                call.args.iter().for_each(|argument| self.take(argument));
            }
            self.called(None, &name, &call.args);
        }
        visit::visit_expr_method_call(self, call);
    }

    fn visit_expr_struct(&mut self, made: &'a syn::ExprStruct) {
        let name = match last(&made.path) {
            Some(name) if name == "Self" => self.of_type.clone(),
            name => name,
        };
        for field in &made.fields {
            if let (Some(of), Member::Named(member)) = (&name, &field.member)
                && FIELDS.contains(&(of.as_str(), member.to_string().as_str()))
            {
                self.take(&field.expr);
            }
        }
        visit::visit_expr_struct(self, made);
    }

    fn visit_macro(&mut self, of: &'a Macro) {
        let name = last(&of.path).unwrap_or_default();
        if NO_EXPRESSIONS.contains(&name.as_str()) {
            return;
        }
        let Some(parts) = parts(&name, &of.tokens) else {
            panic!(
                "{}:{}: `{name}!` cannot be read",
                self.source.file,
                line(of)
            );
        };
        let message = match name.as_str() {
            "bail" | "anyhow" => parts.first(),
            "ensure" => parts.get(1),
            "write" | "writeln" if self.in_display => parts.get(1),
            _ => None,
        };
        if let Some(message) = message {
            self.take(message);
        }
        parts.iter().for_each(|part| self.visit_expr(part));
    }
}

fn line(of: &Macro) -> usize {
    of.path.segments[0].ident.span().start().line
}

/// The expressions in a macro's call.
fn parts(name: &str, tokens: &TokenStream) -> Option<Vec<Expr>> {
    if ["select", "try_join", "join"].contains(&name)
        && let Ok(select) = syn::parse2::<Select>(tokens.clone())
    {
        return Some(select.0);
    }
    let list = Punctuated::<Expr, Token![,]>::parse_terminated;
    if let Ok(list) = list.parse2(tokens.clone()) {
        return Some(list.into_iter().collect());
    }
    // As `vec![0; 8]`.
    let repeat = syn::parse2::<Repeat>(tokens.clone()).ok()?;
    Some(repeat.0)
}

struct Repeat(Vec<Expr>);

impl Parse for Repeat {
    fn parse(input: ParseStream<'_>) -> syn::Result<Self> {
        let of = input.parse()?;
        input.parse::<Token![;]>()?;
        Ok(Self(vec![of, input.parse()?]))
    }
}

/// The arms of tokio's `select!`.
struct Select(Vec<Expr>);

impl Parse for Select {
    fn parse(input: ParseStream<'_>) -> syn::Result<Self> {
        let mut parts = Vec::new();
        let ahead = input.fork();
        if ahead
            .parse::<syn::Ident>()
            .is_ok_and(|word| word == "biased")
            && ahead.parse::<Token![;]>().is_ok()
        {
            input.parse::<syn::Ident>()?;
            input.parse::<Token![;]>()?;
        }
        while !input.is_empty() {
            if input.parse::<Option<Token![else]>>()?.is_none() {
                Pat::parse_multi(input)?;
                input.parse::<Token![=]>()?;
                parts.push(input.parse()?);
                if input.peek(Token![,]) {
                    input.parse::<Token![,]>()?;
                    input.parse::<Token![if]>()?;
                    parts.push(input.parse()?);
                }
            }
            input.parse::<Token![=>]>()?;
            // A block ends an arm, as in `match`.
            if input.peek(syn::token::Brace) {
                let block = input.parse::<syn::ExprBlock>()?;
                parts.push(Expr::Block(block));
            } else {
                parts.push(input.parse()?);
            }
            input.parse::<Option<Token![,]>>()?;
        }
        Ok(Self(parts))
    }
}

impl Reader<'_, '_> {
    fn enter(&mut self, signature: &Signature) {
        let parameters = signature.inputs.iter().filter_map(|input| match input {
            FnArg::Typed(typed) => Some(names(&typed.pat).into_iter().next().unwrap_or_default()),
            FnArg::Receiver(_) => None,
        });
        self.frames.push(Frame {
            name: Some(signature.ident.to_string()),
            parameters: parameters.collect(),
            bound: HashMap::new(),
        });
    }

    fn closure(&mut self, closure: &syn::ExprClosure, name: Option<String>) {
        let parameters = closure.inputs.iter();
        let parameters = parameters.map(|pat| names(pat).into_iter().next().unwrap_or_default());
        self.frames.push(Frame {
            name,
            parameters: parameters.collect(),
            bound: HashMap::new(),
        });
        self.visit_expr(&closure.body);
        self.frames.pop();
    }

    fn bind(&mut self, pat: &Pat, to: &Expr) {
        let Some(frame) = self.frames.last_mut() else {
            return;
        };
        match pat {
            Pat::Tuple(tuple) => {
                for (index, part) in tuple.elems.iter().enumerate() {
                    for name in names(part) {
                        frame.bound.insert(name, (to.clone(), Some(index)));
                    }
                }
            }
            other => {
                for name in names(other) {
                    frame.bound.insert(name, (to.clone(), None));
                }
            }
        }
    }

    /// A function is called: if it makes an error of an argument, that is a message.
    fn called(&mut self, of: Option<String>, name: &str, arguments: &Punctuated<Expr, Token![,]>) {
        let here = Some(self.source.file.clone());
        for (index, argument) in arguments.iter().enumerate() {
            let is = |scope: Option<String>, name: &str| {
                self.makers.contains(&((scope, name.to_owned()), index))
            };
            let is_maker = match &of {
                Some(of) => is(None, &format!("{of}::{name}")),
                None => is(None, name),
            };
            if is_maker || is(here.clone(), name) {
                self.take(argument);
            }
        }
    }

    /// Takes what an expression says for a message.
    fn take(&mut self, expr: &Expr) {
        self.follow(expr, None, 0);
    }

    /// Follows an expression, or one part of the tuple that it is, to its text.
    fn follow(&mut self, expr: &Expr, part: Option<usize>, depth: usize) {
        // A variable that is bound to itself, as in `let what = what.trim()`.
        if depth > 12 {
            return;
        }
        let depth = depth + 1;
        match expr {
            Expr::Tuple(tuple) => {
                if let Some(expr) = part.and_then(|part| tuple.elems.get(part)) {
                    self.follow(expr, None, depth);
                }
            }
            Expr::Lit(ExprLit {
                lit: Lit::Str(text),
                ..
            }) => self.say(text),
            Expr::Macro(made) => {
                let name = last(&made.mac.path).unwrap_or_default();
                if ["format", "anyhow"].contains(&name.as_str())
                    && let Some(parts) = parts(&name, &made.mac.tokens)
                    && let Some(text) = parts.first()
                {
                    self.follow(text, None, depth);
                }
            }
            Expr::Reference(of) => self.follow(&of.expr, part, depth),
            Expr::Paren(of) => self.follow(&of.expr, part, depth),
            Expr::Try(of) => self.follow(&of.expr, part, depth),
            Expr::Await(of) => self.follow(&of.base, part, depth),
            Expr::Closure(of) => self.follow(&of.body, part, depth),
            Expr::Block(of) => self.follow_block(&of.block, part, depth),
            Expr::If(of) => {
                self.follow_block(&of.then_branch, part, depth);
                if let Some((_, other)) = &of.else_branch {
                    self.follow(other, part, depth);
                }
            }
            Expr::Match(of) => {
                for arm in &of.arms {
                    self.follow(&arm.body, part, depth);
                }
            }
            Expr::Return(of) => {
                if let Some(expr) = &of.expr {
                    self.follow(expr, part, depth);
                }
            }
            // What `during` is told is a part of `cannot {}: {}`.
            Expr::MethodCall(call) if call.method == "during" => {}
            Expr::MethodCall(call) => {
                self.follow(&call.receiver, part, depth);
                for argument in &call.args {
                    if let Expr::Closure(_) = argument {
                        self.follow(argument, part, depth);
                    }
                }
            }
            Expr::Call(call) => {
                let Expr::Path(function) = &*call.func else {
                    return;
                };
                let name = last(&function.path).unwrap_or_default();
                if ["Some", "Ok", "Err", "from", "new"].contains(&name.as_str()) {
                    call.args
                        .iter()
                        .for_each(|argument| self.follow(argument, part, depth));
                } else {
                    self.function(&name, part, depth);
                }
            }
            Expr::Path(path) => {
                let name = last(&path.path).unwrap_or_default();
                self.named(&name, part, depth);
            }
            _ => {}
        }
    }

    fn follow_block(&mut self, block: &Block, part: Option<usize>, depth: usize) {
        for statement in &block.stmts {
            if let Stmt::Local(local) = statement
                && let Some(init) = &local.init
            {
                self.bind(&local.pat, &init.expr);
            }
        }
        match block.stmts.last() {
            Some(Stmt::Expr(expr, None)) => self.follow(expr, part, depth),
            Some(Stmt::Macro(made)) if made.semi_token.is_none() => {
                let expr = Expr::Macro(syn::ExprMacro {
                    attrs: Vec::new(),
                    mac: made.mac.clone(),
                });
                self.follow(&expr, part, depth);
            }
            _ => {}
        }
    }

    fn function(&mut self, name: &str, part: Option<usize>, depth: usize) {
        if let Some(block) = self.source.functions.get(name) {
            self.frames.push(Frame::default());
            self.follow_block(block, part, depth);
            self.frames.pop();
        }
    }

    fn named(&mut self, name: &str, part: Option<usize>, depth: usize) {
        for frame in self.frames.iter().rev() {
            if let Some((expr, of_tuple)) = frame.bound.get(name).cloned() {
                self.follow(&expr, of_tuple.or(part), depth);
                return;
            }
            if let Some(index) = frame.parameters.iter().position(|other| other == name) {
                // Its callers say it.
                if let Some(function) = &frame.name {
                    let here = Some(self.source.file.clone());
                    self.new_makers.insert(((here, function.clone()), index));
                    if let Some(of) = &self.of_type {
                        let typed = format!("{of}::{function}");
                        self.new_makers.insert(((None, typed), index));
                    }
                }
                return;
            }
        }
        match self.source.constants.get(name) {
            Some(expr) => self.follow(&expr.clone(), part, depth),
            None => self.function(name, part, depth),
        }
    }

    fn say(&mut self, text: &LitStr) {
        let whole = pattern(&text.value());
        let said = whole.lines().next().unwrap_or_default().trim().to_owned();
        if said.replace("{}", "").contains(char::is_alphabetic) {
            self.found.insert(Message {
                file: self.source.file.clone(),
                line: text.span().start().line,
                text: said,
            });
        }
    }
}

/// The variables that a pattern binds.
fn names(pat: &Pat) -> Vec<String> {
    match pat {
        Pat::Ident(of) => vec![of.ident.to_string()],
        Pat::Type(of) => names(&of.pat),
        Pat::Reference(of) => names(&of.pat),
        Pat::TupleStruct(of) => of.elems.iter().flat_map(names).collect(),
        _ => Vec::new(),
    }
}

/// A format string with `{}` for whatever is put in.
fn pattern(format: &str) -> String {
    let (mut text, mut rest) = (String::new(), format);
    while let Some(at) = rest.find(['{', '}']) {
        text.push_str(&rest[..at]);
        let brace = &rest[at..=at];
        rest = &rest[at + 1..];
        if rest.starts_with(brace) {
            text.push_str(brace);
            rest = &rest[1..];
        } else if let Some((_, after)) = rest.split_once('}') {
            text.push_str("{}");
            rest = after;
        }
    }
    text + rest
}
