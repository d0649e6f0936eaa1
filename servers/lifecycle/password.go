package lifecycle

import "kilonova/work"

func preparePassword(b *beginning) (*work.Args, error) {
	args, err := prepareGuest(b)
	if err != nil {
		return nil, err
	}
	args.Password = b.input.(string)
	return args, nil
}
