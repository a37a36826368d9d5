enum Kind {
  A = 'a',
  B = 'b',
}

export interface Helper {
  kind: Kind;
}

const helper: Helper = { kind: Kind.B };
export default helper;
