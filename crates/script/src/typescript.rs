//! Types erased from TypeScript: what has no meaning at run time becomes blanks, so that lines and columns stay. Enums
//! and parameter properties become JavaScript on their own lines; namespaces with code are refused. No type is checked.

#[cfg(not(feature = "typescript"))]
pub(crate) fn erase(file: &str, _text: &str) -> Result<String, String> {
    Err(format!("{file}: this program was built without TypeScript"))
}

#[cfg(feature = "typescript")]
pub(crate) use with_oxc::erase;

#[cfg(feature = "typescript")]
mod with_oxc {
    use oxc_allocator::Allocator;
    use oxc_ast::ast::{
        Class, ClassElement, Declaration, ExportDefaultDeclarationKind, ExportNamedDeclaration, Expression,
        FormalParameter, IdentifierReference, ImportDeclaration, ImportDeclarationSpecifier,
        MethodDefinition, MethodDefinitionKind, ModuleExportName, PropertyDefinition, Statement,
        TSAsExpression, TSEnumDeclaration, TSEnumMemberName, TSInstantiationExpression, TSNonNullExpression,
        TSSatisfiesExpression, TSThisParameter, TSTypeAnnotation, TSTypeAssertion,
        TSTypeParameterDeclaration, TSTypeParameterInstantiation, VariableDeclarator,
    };
    use oxc_ast_visit::{Visit, walk};
    use oxc_parser::Parser;
    use oxc_span::{GetSpan, SourceType, Span};
    use std::collections::BTreeSet;
    use std::fmt::Write;

    /// JavaScript of a TypeScript module.
    ///
    /// # Errors
    /// A syntax error with its line and a caret, or what cannot be erased, with its line.
    pub(crate) fn erase(file: &str, text: &str) -> Result<String, String> {
        let allocator = Allocator::default();
        let parsed = Parser::new(&allocator, text, SourceType::ts()).parse();
        if let Some(first) = parsed.diagnostics.first() {
            let at = first.labels.first().map_or(0, |label| label.offset() as usize);
            return Err(at_line(file, text, at, &format!("SyntaxError: {first}")));
        }
        let mut eraser = Eraser { text, ..Eraser::default() };
        eraser.visit_program(&parsed.program);
        if let Some((at, why)) = eraser.refused {
            return Err(at_line(file, text, at, why));
        }
        eraser.finish_imports(&parsed.program.body);
        Ok(eraser.apply())
    }

    fn at_line(file: &str, text: &str, at: usize, why: &str) -> String {
        let before = text.get(..at).unwrap_or(text);
        let line = before.matches('\n').count();
        let column = before.rsplit('\n').next().map_or(0, |part| part.chars().count());
        let shown = text.lines().nth(line).unwrap_or("").replace('\t', " ");
        let mut out = format!("{file}:{}:{}: {why}", line + 1, column + 1);
        if shown.len() <= 200 {
            let _written = write!(out, "\n{:>5} | {shown}\n      | {}^", line + 1, " ".repeat(column));
        }
        out
    }

    /// What stands in place of a stretch of text; without a text: blanks.
    struct Edit {
        start: usize,
        end: usize,
        text: Option<String>,
    }

    #[derive(Default)]
    struct Eraser<'t> {
        text: &'t str,
        edits: Vec<Edit>,
        /// Names that are used as values.
        used: BTreeSet<String>,
        /// Names of types of this module.
        types: BTreeSet<String>,
        refused: Option<(usize, &'static str)>,
    }

    impl Eraser<'_> {
        fn blank(&mut self, span: Span) {
            self.blank_range(span.start as usize, span.end as usize);
        }

        fn blank_range(&mut self, start: usize, end: usize) {
            if start < end {
                self.edits.push(Edit { start, end, text: None });
            }
        }

        fn insert(&mut self, at: usize, text: String) {
            self.edits.push(Edit { start: at, end: at, text: Some(text) });
        }

        /// A whole statement: a semicolon stays, so that its neighbours are not joined.
        fn blank_statement(&mut self, span: Span) {
            let (start, end) = (span.start as usize, span.end as usize);
            self.edits.push(Edit { start, end: start + 1, text: Some(";".to_owned()) });
            self.blank_range(start + 1, end);
        }

        fn refuse(&mut self, span: Span, why: &'static str) {
            self.refused.get_or_insert((span.start as usize, why));
        }

        /// Blanks the first `mark` outside comments in a stretch of text.
        fn blank_mark(&mut self, start: usize, end: usize, mark: u8) {
            let found =
                self.text.as_bytes().get(start..end).and_then(|part| part.iter().position(|b| *b == mark));
            if let Some(at) = found {
                self.blank_range(start + at, start + at + 1);
            }
        }

        /// Blanks TypeScript's modifiers before a member's or a parameter's name.
        fn blank_modifiers(&mut self, start: usize, end: usize) {
            const WORDS: [&str; 7] =
                ["private", "public", "protected", "readonly", "abstract", "override", "declare"];
            let text = self.text;
            let Some(part) = text.get(start..end) else { return };
            let mut at = 0;
            for word in part.split(|c: char| !c.is_ascii_alphabetic()) {
                if WORDS.contains(&word) {
                    self.blank_range(start + at, start + at + word.len());
                }
                at += word.len() + 1;
            }
        }

        fn apply(mut self) -> String {
            // Outer edits first: what lies within them is done with.
            self.edits.sort_by_key(|edit| (edit.start, std::cmp::Reverse(edit.end)));
            let mut out = String::with_capacity(self.text.len());
            let mut at = 0;
            for edit in &self.edits {
                if edit.start < at {
                    continue;
                }
                out.push_str(&self.text[at..edit.start]);
                match &edit.text {
                    Some(text) => out.push_str(text),
                    None => {
                        let part = &self.text[edit.start..edit.end];
                        out.extend(part.chars().map(|c| if matches!(c, '\n' | '\r') { c } else { ' ' }));
                    }
                }
                at = edit.end;
            }
            out.push_str(&self.text[at..]);
            out
        }

        /// Imports that no value uses are types, as TypeScript has it.
        fn finish_imports(&mut self, body: &[Statement<'_>]) {
            for statement in body {
                match statement {
                    Statement::ImportDeclaration(import) => self.finish_import(import),
                    Statement::ExportNamedDeclaration(export) => self.finish_export(export),
                    _ => {}
                }
            }
        }

        fn finish_import(&mut self, import: &ImportDeclaration<'_>) {
            if import.import_kind.is_type() {
                return self.blank_statement(import.span);
            }
            let Some(specifiers) = import.specifiers.as_ref().filter(|all| !all.is_empty()) else { return };
            let mut named = Vec::new();
            let mut others = Vec::new();
            for specifier in specifiers {
                let (name, is_type) = match specifier {
                    ImportDeclarationSpecifier::ImportSpecifier(one) => {
                        (&one.local, one.import_kind.is_type())
                    }
                    ImportDeclarationSpecifier::ImportDefaultSpecifier(one) => (&one.local, false),
                    ImportDeclarationSpecifier::ImportNamespaceSpecifier(one) => (&one.local, false),
                };
                if is_type || !self.used.contains(name.name.as_str()) {
                    continue;
                }
                let span = specifier.span();
                let text = &self.text[span.start as usize..span.end as usize];
                match specifier {
                    ImportDeclarationSpecifier::ImportSpecifier(_) => named.push(text),
                    _ => others.push(text),
                }
            }
            if named.len() + others.len() == specifiers.len() {
                return;
            }
            if named.is_empty() && others.is_empty() {
                return self.blank_statement(import.span);
            }
            let mut kept = others.join(", ");
            if !named.is_empty() {
                let comma = if kept.is_empty() { "" } else { ", " };
                let _written = write!(kept, "{comma}{{ {} }}", named.join(", "));
            }
            let (start, end) = (import.span.start as usize, import.source.span.start as usize);
            let lines = self.text[start..end].matches('\n').count();
            let text = Some(format!("import {kept} from {}", "\n".repeat(lines)));
            self.edits.push(Edit { start, end, text });
        }

        fn finish_export(&mut self, export: &ExportNamedDeclaration<'_>) {
            if export.export_kind.is_type() {
                return self.blank_statement(export.span);
            }
            for specifier in &export.specifiers {
                let ModuleExportName::IdentifierReference(local) = &specifier.local else { continue };
                let text = &self.text[specifier.span.start as usize..specifier.span.end as usize];
                if self.types.contains(local.name.as_str()) || text.starts_with("type ") {
                    let end = self.after_comma(specifier.span.end as usize);
                    self.blank_range(specifier.span.start as usize, end);
                }
            }
        }

        /// Behind the comma that follows, if one does.
        fn after_comma(&self, end: usize) -> usize {
            let rest = &self.text[end..];
            let trimmed = rest.trim_start();
            if trimmed.starts_with(',') { end + (rest.len() - trimmed.len()) + 1 } else { end }
        }

        /// `this.x = x` for each parameter with a modifier, after `super(...)`.
        fn parameter_properties(&mut self, method: &MethodDefinition<'_>) {
            let Some(body) = &method.value.body else { return };
            let mut set = String::new();
            for parameter in &method.value.params.items {
                if parameter.accessibility.is_some() || parameter.readonly || parameter.r#override {
                    let span = parameter.pattern.span();
                    let pattern = &self.text[span.start as usize..span.end as usize];
                    let name = pattern.split([':', '?', '=', ' ']).next().unwrap_or(pattern);
                    let _written = write!(set, " this.{name} = {name};");
                }
            }
            if set.is_empty() {
                return;
            }
            let after_super = body.statements.iter().find_map(|statement| match statement {
                Statement::ExpressionStatement(one) => match &one.expression {
                    Expression::CallExpression(call) if matches!(call.callee, Expression::Super(_)) => {
                        Some(one.span.end as usize)
                    }
                    _ => None,
                },
                _ => None,
            });
            self.insert(after_super.unwrap_or(body.span.start as usize + 1), set);
        }

        fn enumeration(&mut self, it: &TSEnumDeclaration<'_>) {
            let name = it.id.name.as_str();
            let mut out = format!("var {name}; (function ({name}) {{ ");
            let mut last: Option<String> = None;
            let (mut members, mut texts): (Vec<&str>, Vec<&str>) = (Vec::new(), Vec::new());
            for member in &it.body.members {
                let key = match &member.id {
                    TSEnumMemberName::Identifier(one) => one.name.as_str(),
                    TSEnumMemberName::String(one) | TSEnumMemberName::ComputedString(one) => {
                        one.value.as_str()
                    }
                    TSEnumMemberName::ComputedTemplateString(_) => {
                        return self.refuse(member.span, "computed names in enums are not supported");
                    }
                };
                let quoted = serde_json::Value::from(key).to_string();
                let is_text = member.initializer.as_ref().is_some_and(|value| is_text(value, &texts));
                let value = match &member.initializer {
                    Some(value) => self.of_members(value, name, &members),
                    None => last.as_ref().map_or_else(|| "0".to_owned(), |last| format!("{last} + 1")),
                };
                let _written = if is_text {
                    write!(out, "{name}[{quoted}] = {value}; ")
                } else {
                    write!(out, "{name}[{name}[{quoted}] = {value}] = {quoted}; ")
                };
                last = Some(format!("{name}[{quoted}]"));
                if is_text {
                    texts.push(key);
                }
                members.push(key);
            }
            let _written = write!(out, "}})({name} || ({name} = {{}}));");
            let (start, end) = (it.span.start as usize, it.span.end as usize);
            out.push_str(&"\n".repeat(self.text[start..end].matches('\n').count()));
            self.edits.push(Edit { start, end, text: Some(out) });
        }

        /// The text of an enum's value, in which earlier members are found by their names alone.
        fn of_members(&self, value: &Expression<'_>, name: &str, members: &[&str]) -> String {
            let mut named = Named::default();
            named.visit_expression(value);
            let span = value.span();
            let (start, end) = (span.start as usize, span.end as usize);
            let (mut out, mut at) = (String::new(), start);
            for (from, to) in named.0 {
                if members.contains(&&self.text[from..to]) {
                    let _written = write!(out, "{}{name}.", &self.text[at..from]);
                    at = from;
                }
            }
            out + &self.text[at..end]
        }

        /// Whether a declaration means nothing at run time; remembers the names of types.
        fn is_type(&mut self, declaration: &Declaration<'_>) -> bool {
            match declaration {
                Declaration::TSTypeAliasDeclaration(one) => self.types.insert(one.id.name.to_string()),
                Declaration::TSInterfaceDeclaration(one) => self.types.insert(one.id.name.to_string()),
                _ => false,
            };
            match declaration {
                Declaration::VariableDeclaration(one) => one.declare,
                Declaration::FunctionDeclaration(one) => one.declare || one.body.is_none(),
                Declaration::ClassDeclaration(one) => one.declare,
                Declaration::TSEnumDeclaration(one) => one.declare,
                Declaration::TSNamespaceDeclaration(one) => {
                    if !one.declare {
                        self.refuse(one.span, "namespaces with code are not supported");
                    }
                    true
                }
                Declaration::TSImportEqualsDeclaration(one) => {
                    self.refuse(one.span, "import = is not supported");
                    true
                }
                _ => declaration.is_typescript_syntax(),
            }
        }
    }

    /// Where an expression names variables.
    #[derive(Default)]
    struct Named(Vec<(usize, usize)>);

    impl<'a> Visit<'a> for Named {
        fn visit_identifier_reference(&mut self, it: &IdentifierReference<'a>) {
            self.0.push((it.span.start as usize, it.span.end as usize));
        }
    }

    /// Whether an enum's value is a text, which names no member in turn. `texts`: earlier members that are.
    fn is_text(value: &Expression<'_>, texts: &[&str]) -> bool {
        match value {
            Expression::StringLiteral(_) | Expression::TemplateLiteral(_) => true,
            Expression::Identifier(one) => texts.contains(&one.name.as_str()),
            Expression::ParenthesizedExpression(one) => is_text(&one.expression, texts),
            Expression::BinaryExpression(one) => is_text(&one.left, texts) || is_text(&one.right, texts),
            _ => false,
        }
    }

    impl<'a> Visit<'a> for Eraser<'_> {
        fn visit_statement(&mut self, it: &Statement<'a>) {
            match it {
                Statement::ImportDeclaration(_) => {}
                Statement::ExportDeclaration(export) => {
                    if self.is_type(&export.declaration) {
                        self.blank_statement(export.span);
                    } else {
                        walk::walk_statement(self, it);
                    }
                }
                Statement::ExportDefaultDeclaration(export) => match &export.declaration {
                    ExportDefaultDeclarationKind::TSInterfaceDeclaration(_) => {
                        self.blank_statement(export.span)
                    }
                    ExportDefaultDeclarationKind::FunctionDeclaration(one) if one.body.is_none() => {
                        self.blank_statement(export.span);
                    }
                    _ => walk::walk_statement(self, it),
                },
                Statement::ExportFromDeclaration(export) if export.export_kind.is_type() => {
                    self.blank_statement(export.span);
                }
                Statement::ExportAllDeclaration(export) if export.export_kind.is_type() => {
                    self.blank_statement(export.span);
                }
                Statement::TSExportAssignment(export) => {
                    self.refuse(export.span, "export = is not supported")
                }
                Statement::TSNamespaceExportDeclaration(export) => self.blank_statement(export.span),
                _ => match it.as_declaration() {
                    Some(declaration) if self.is_type(declaration) => self.blank_statement(it.span()),
                    _ => walk::walk_statement(self, it),
                },
            }
        }

        fn visit_identifier_reference(&mut self, it: &IdentifierReference<'a>) {
            self.used.insert(it.name.to_string());
        }

        fn visit_ts_type_annotation(&mut self, it: &TSTypeAnnotation<'a>) {
            self.blank(it.span);
        }

        fn visit_ts_type_parameter_declaration(&mut self, it: &TSTypeParameterDeclaration<'a>) {
            self.blank(it.span);
        }

        fn visit_ts_type_parameter_instantiation(&mut self, it: &TSTypeParameterInstantiation<'a>) {
            self.blank(it.span);
        }

        fn visit_ts_this_parameter(&mut self, it: &TSThisParameter<'a>) {
            let end = self.after_comma(it.span.end as usize);
            self.blank_range(it.span.start as usize, end);
        }

        fn visit_ts_as_expression(&mut self, it: &TSAsExpression<'a>) {
            self.visit_expression(&it.expression);
            self.blank_range(it.expression.span().end as usize, it.span.end as usize);
        }

        fn visit_ts_satisfies_expression(&mut self, it: &TSSatisfiesExpression<'a>) {
            self.visit_expression(&it.expression);
            self.blank_range(it.expression.span().end as usize, it.span.end as usize);
        }

        fn visit_ts_non_null_expression(&mut self, it: &TSNonNullExpression<'a>) {
            self.visit_expression(&it.expression);
            self.blank_range(it.expression.span().end as usize, it.span.end as usize);
        }

        fn visit_ts_instantiation_expression(&mut self, it: &TSInstantiationExpression<'a>) {
            self.visit_expression(&it.expression);
            self.blank_range(it.expression.span().end as usize, it.span.end as usize);
        }

        fn visit_ts_type_assertion(&mut self, it: &TSTypeAssertion<'a>) {
            self.blank_range(it.span.start as usize, it.expression.span().start as usize);
            self.visit_expression(&it.expression);
        }

        fn visit_ts_enum_declaration(&mut self, it: &TSEnumDeclaration<'a>) {
            walk::walk_ts_enum_declaration(self, it);
            self.enumeration(it);
        }

        fn visit_formal_parameter(&mut self, it: &FormalParameter<'a>) {
            let pattern = it.pattern.span();
            self.blank_modifiers(it.span.start as usize, pattern.start as usize);
            if it.optional {
                let end = it.type_annotation.as_ref().map_or(it.span.end, |one| one.span.start);
                self.blank_mark(pattern.end as usize, end as usize, b'?');
            }
            walk::walk_formal_parameter(self, it);
        }

        fn visit_variable_declarator(&mut self, it: &VariableDeclarator<'a>) {
            if it.definite {
                let end = it.type_annotation.as_ref().map_or(it.span.end, |one| one.span.start);
                self.blank_mark(it.id.span().end as usize, end as usize, b'!');
            }
            walk::walk_variable_declarator(self, it);
        }

        fn visit_class(&mut self, it: &Class<'a>) {
            if it.r#abstract {
                let name = it.id.as_ref().map_or(it.body.span.start, |id| id.span.start);
                self.blank_modifiers(it.span.start as usize, name as usize);
            }
            if !it.implements.is_empty() {
                let first =
                    it.implements.iter().map(|one| one.span.start).min().unwrap_or(it.body.span.start);
                let before = &self.text[..first as usize];
                let start = before.rfind("implements").unwrap_or(first as usize);
                self.blank_range(start, it.body.span.start as usize);
            }
            walk::walk_class(self, it);
        }

        fn visit_class_element(&mut self, it: &ClassElement<'a>) {
            let erased = match it {
                ClassElement::TSIndexSignature(_) => true,
                ClassElement::MethodDefinition(one) => one.value.body.is_none(),
                ClassElement::PropertyDefinition(one) => one.declare || one.r#type.is_abstract(),
                ClassElement::AccessorProperty(one) => one.r#type.is_abstract(),
                ClassElement::StaticBlock(_) => false,
            };
            if erased { self.blank(it.span()) } else { walk::walk_class_element(self, it) }
        }

        fn visit_method_definition(&mut self, it: &MethodDefinition<'a>) {
            let key = it.key.span();
            self.blank_modifiers(it.span.start as usize, key.start as usize);
            if it.optional {
                self.blank_mark(key.end as usize, it.value.span.start as usize + 1, b'?');
            }
            if it.kind == MethodDefinitionKind::Constructor {
                self.parameter_properties(it);
            }
            walk::walk_method_definition(self, it);
        }

        fn visit_property_definition(&mut self, it: &PropertyDefinition<'a>) {
            let key = it.key.span();
            self.blank_modifiers(it.span.start as usize, key.start as usize);
            let end = it.type_annotation.as_ref().map_or(it.span.end, |one| one.span.start) as usize;
            if it.optional {
                self.blank_mark(key.end as usize, end, b'?');
            }
            if it.definite {
                self.blank_mark(key.end as usize, end, b'!');
            }
            walk::walk_property_definition(self, it);
        }
    }

    #[cfg(test)]
    mod tests {
        use super::erase;

        #[track_caller]
        fn check(typescript: &str, javascript: &str) {
            let out = erase("a.ts", typescript).unwrap();
            let squeezed = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
            assert_eq!(squeezed(&out), squeezed(javascript), "{out}");
            assert_eq!(out.matches('\n').count(), typescript.matches('\n').count(), "lines moved:\n{out}");
        }

        #[test]
        fn types_become_blanks() {
            check("const a: number = 1; let b!: string;", "const a = 1; let b ;");
            check(
                "function f<T>(this: X, a?: T, ...b: T[]): a is T { return a!; }",
                "function f ( a , ...b ) { return a ; }",
            );
            check(
                "const g = async <T,>(x: T): Promise<T> => (x as unknown as T) satisfies T;",
                "const g = async (x ) => (x ) ;",
            );
            check("new Map<string, number>(); <any>x;", "new Map (); x;");
            check("type A = 1;\ninterface B { a: 1 }\ndeclare const c: A;", "; ; ;");
            check("try { f() } catch (e: unknown) {}", "try { f() } catch (e ) {}");
        }

        #[test]
        fn classes_lose_their_modifiers() {
            check(
                "abstract class A<T> extends B<T> implements C, D { private static readonly x?: number = 1; \
                 abstract f(): void; declare y: T; [k: string]: any; g?(): void; protected override h(): T { return 1 } }",
                "class A extends B { static x = 1; h() { return 1 } }",
            );
            check(
                "class P extends Q { constructor(private a: number, readonly b = 2, c?: string) { super(); c; } }",
                "class P extends Q { constructor( a , b = 2, c ) { super(); this.a = a; this.b = b; c; } }",
            );
        }

        #[test]
        fn imports_that_are_types_go() {
            check(
                "import { Options } from 'k6/options';\nexport const options: Options = {};",
                "; export const options = {};",
            );
            check(
                "import http, {\n  RefinedResponse, file\n} from 'k6/http';\nhttp.get(file);",
                "import http, { file } from 'k6/http'; http.get(file);",
            );
            check("import type { A } from './a';\nexport type { A };\nimport './b';", "; ; import './b';");
            check("type A = 1;\nconst b = 1;\nexport { A, b };", "; const b = 1; export { b };");
        }

        #[test]
        fn enums_are_objects() {
            check(
                "export enum E { A, B = 5, C, D = 'x' }",
                "export var E; (function (E) { E[E[\"A\"] = 0] = \"A\"; E[E[\"B\"] = 5] = \"B\"; \
                 E[E[\"C\"] = E[\"B\"] + 1] = \"C\"; E[\"D\"] = 'x'; })(E || (E = {}));",
            );
        }

        #[test]
        fn values_of_enums_name_earlier_members() {
            check(
                "const enum E { A = 1, B = A << 2 | other.A, C = 'x', D = C + `${A}` }",
                "var E; (function (E) { E[E[\"A\"] = 1] = \"A\"; E[E[\"B\"] = E.A << 2 | other.A] = \"B\"; \
                 E[\"C\"] = 'x'; E[\"D\"] = E.C + `${E.A}`; })(E || (E = {}));",
            );
        }

        #[test]
        fn what_cannot_be_erased_is_named_with_its_line() {
            let error = erase("a.ts", "let a = 1;\nnamespace N { export const b = 1 }").unwrap_err();
            assert!(error.starts_with("a.ts:2:1: namespaces"), "{error}");
            let error = erase("a.ts", "let a: = 1;").unwrap_err();
            assert!(error.starts_with("a.ts:1:") && error.contains('^'), "{error}");
        }
    }
}
